"""The tables, as classes. Migrations make them; a test holds the two equal.

Times are UTC, sky is ICRS degrees, ``array`` is a detector, ``array_id`` what modules A and B
share. Text that a header may lack is stored empty, not NULL, so that unique constraints see it.
"""

from calreg.db.schema.base import NAMING_CONVENTION, Base
from calreg.db.schema.contexts import (
    PmapEqualityRow,
    PredictionResidualRow,
    ReferenceFileRow,
)
from calreg.db.schema.external import ExternalSolutionRow, ExternalValueRow
from calreg.db.schema.images import (
    CatalogRow,
    DetectionRow,
    EpochRow,
    ExposureRow,
    FieldRow,
    GridRow,
    IngestRow,
    InstrumentRow,
    PmapRow,
    ZeroPointRow,
)
from calreg.db.schema.pairs import (
    FitRunRow,
    PairGroupRow,
    PairRow,
    SourceRow,
    VariableSourceRow,
)
from calreg.db.schema.sets import (
    AcceptanceRow,
    ApplicationRow,
    CoefficientRow,
    CoefficientSetRow,
    CovarianceRow,
    DeliveryRow,
    DeliverySetRow,
    RefusalRow,
    SetInputRow,
    WithdrawalRow,
)

__all__ = [
    "NAMING_CONVENTION",
    "AcceptanceRow",
    "ApplicationRow",
    "Base",
    "CatalogRow",
    "CoefficientRow",
    "CoefficientSetRow",
    "CovarianceRow",
    "DeliveryRow",
    "DeliverySetRow",
    "DetectionRow",
    "EpochRow",
    "ExposureRow",
    "ExternalSolutionRow",
    "ExternalValueRow",
    "FieldRow",
    "FitRunRow",
    "GridRow",
    "IngestRow",
    "InstrumentRow",
    "PairGroupRow",
    "PairRow",
    "PmapEqualityRow",
    "PmapRow",
    "PredictionResidualRow",
    "ReferenceFileRow",
    "RefusalRow",
    "SetInputRow",
    "SourceRow",
    "VariableSourceRow",
    "WithdrawalRow",
    "ZeroPointRow",
]
