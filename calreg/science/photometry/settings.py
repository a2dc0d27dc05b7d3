"""What a user can choose about detection and photometry."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from calreg.errors import InvalidValueError


@dataclass(frozen=True)
class DetectionSettings:
    """What a user can choose about detection and photometry, with SExtractor's meanings.

    Attributes
    ----------
    threshold_sigma : float
        DETECT_THRESH and ANALYSIS_THRESH, in units of the background's global rms.
    min_area_pixels : int
        DETECT_MINAREA.
    deblend_levels : int
        DEBLEND_NTHRESH.
    deblend_contrast : float
        DEBLEND_MINCONT; 1 turns deblending off.
    clean : float
        CLEAN_PARAM; 0 turns cleaning off.
    background_box_pixels : int
        BACK_SIZE.
    background_filter_boxes : int
        BACK_FILTERSIZE.
    aperture_radius_arcsec : float
        Radius of the fixed aperture (half of PHOT_APERTURES).
    kron_factor : float
        First of PHOT_AUTOPARAMS.
    kron_min_radius : float
        Second of PHOT_AUTOPARAMS, in units of A_IMAGE and B_IMAGE.

    Raises
    ------
    InvalidValueError
        If a value is outside its meaning.
    """

    threshold_sigma: float = 1.5
    min_area_pixels: int = 5
    deblend_levels: int = 32
    deblend_contrast: float = 0.005
    clean: float = 1.0
    background_box_pixels: int = 64
    background_filter_boxes: int = 3
    aperture_radius_arcsec: float = 0.3
    kron_factor: float = 2.5
    kron_min_radius: float = 3.5

    def __post_init__(self) -> None:
        """Refuse values outside their meaning."""
        for name, low, high in (
            ("threshold_sigma", 0.1, 1e4),
            ("min_area_pixels", 1, 100_000),
            ("deblend_levels", 1, 64),
            ("deblend_contrast", 0.0, 1.0),
            ("clean", 0.0, 10.0),
            ("background_box_pixels", 8, 4096),
            ("background_filter_boxes", 1, 15),
            ("aperture_radius_arcsec", 1e-3, 60.0),
            ("kron_factor", 0.1, 20.0),
            ("kron_min_radius", 0.1, 20.0),
        ):
            value = getattr(self, name)
            # Also refuses NaN.
            if not low <= value <= high:
                words = name.replace("_", " ")
                msg = f"{words} {value:g}: expected a number from {low:g} to {high:g}"
                raise InvalidValueError(msg)

    def to_text(self) -> dict[str, str]:
        """Return every setting as text, for a catalog's record of how it was made."""
        return {name: f"{value:.15g}" for name, value in asdict(self).items()}
