"""Run calreg from a checkout: ``python cli.py ...`` is the console script ``calreg``."""

from calreg.commands.main import main

if __name__ == "__main__":
    main()
