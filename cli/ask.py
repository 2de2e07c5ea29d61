"""`medgrpo ask`: one question to one model about one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medgrpo.cli.output import ForceBaseOption, JsonOption, Output, QuietOption, RevisionOption, TrustOption

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def ask(
    model: Annotated[str, typer.Argument(help="Run folder, adapter, model folder or hub name.")],
    image: Annotated[Path, typer.Argument(help="Picture file; - for a question without a picture.")],
    question: Annotated[str, typer.Argument(help="In quotes; English or Chinese.")],
    adapter: Annotated[Path | None, typer.Option(help="Adapter on top of MODEL.")] = None,
    force_base: ForceBaseOption = False,
    trust_remote_code: TrustOption = False,
    revision: RevisionOption = None,
    option: Annotated[
        list[str] | None, typer.Option(help="A choice of a multiple-choice question; repeat it.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Prompt template. Default: the one it was trained with (medgrpo.json).")
    ] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0: the likeliest token each time.")] = 0.0,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Longest completion, in tokens. Default: as in training, else 256."),
    ] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    show_prompt: Annotated[
        bool, typer.Option("--show-prompt", help="Also print the prompt as the model gets it.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Ask a model one question about a picture, and see what it was given and what it said.

    Not for clinical use: the answer of one model about one picture is no diagnosis.

    Example: medgrpo ask latest runs/latest/demo/data/images/test-00000.png "Is there a lesion?"
    """
    from medgrpo.generation.ask import ask as ask_model
    from medgrpo.generation.generate import Sampling
    from medgrpo.generation.subject import find_subject

    out = Output(as_json=as_json, quiet=quiet)
    subject = find_subject(
        model, adapter, force_base=force_base, trust_remote_code=trust_remote_code, revision=revision
    )
    for note in subject.notes:
        out.warn(note)
    stated = subject.metadata.get("generation") or {}
    sampling = Sampling(max_new_tokens or int(stated.get("max_new_tokens") or 256), temperature)
    result = ask_model(
        subject,
        None if str(image) == "-" else image,
        question,
        options=option,
        prompt=prompt,
        sampling=sampling,
        dtype=dtype,
    )
    if show_prompt:
        out.text(f"prompt:\n{result['prompt']}\n")
    out.text(f"completion: {result['completion']}")
    for tag, content in result["tags"].items():
        out.text(f"  {tag}: {content if content is not None else '– (not well-formed)'}")
    size = "x".join(str(side) for side in result["image_size"]) + " px, " if result["image_size"] else ""
    out.note(
        f"{size}{result['image_tokens']} image tokens in {result['prompt_tokens']} prompt tokens; "
        f"{result['completion_tokens']} tokens written{', cut off' if result['truncated'] else ''}; "
        f"prompt template {result['prompt_template']}"
    )
    out.result(result)
