"""``calreg demo``: a simulated programme through everything that the commands do."""
import typer
def register(app: typer.Typer) -> None:
    """Add."""
