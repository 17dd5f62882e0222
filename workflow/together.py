"""Run several vaelib commands in one process, because starting Python takes longer than training a small model.

A command that fails stops no other. The last lines say which failed and why.
"""

import json
import sys
import traceback
from pathlib import Path

import typer

# The project's own packages are found, and win over others of their names, also where this file is run by its path.
sys.path.insert(0, str(Path(__file__).parents[1]))

from vaelib.cli.app import outcome

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(commands: str):
    """Run COMMANDS, a JSON object of names and arguments such as {"one": ["train", "--seed=1"]}, in their order."""
    codes, failed = [0], []
    for name, arguments in json.loads(commands).items():
        print(f"== {name}", flush=True)
        try:
            code, why = outcome(arguments)
        except Exception as error:  # a defect of ours, whose traceback belongs into the log
            traceback.print_exc()
            code, why = 1, f"{type(error).__name__}: {error}"
        codes.append(code)
        if code == 130:
            break
        if code:
            failed.append(f"{name}: {why}")
    print("\n".join(failed), file=sys.stderr)
    sys.exit(max(codes))


if __name__ == "__main__":
    app()
