"""The pictures of a training by step and prompt."""

from __future__ import annotations

from jobs.outputs.folder import OutputFile
from jobs.outputs.gallery import gallery_of


def files(*paths: str) -> list[OutputFile]:
    return [OutputFile(path, 1, 0.0) for path in paths]


def test_the_newest_step_comes_first() -> None:
    gallery = gallery_of(
        files(
            "validation_images/step_0_cat_512x512.png",
            "validation_images/step_100_cat_512x512.png",
            "validation_images/step_100_ape_512x512.png",
            "checkpoint-100/preview.png",
            "grid.png",
            "result.json",
        ),
        {},
    )
    assert gallery.steps == [100, 0]
    assert [(picture.step, picture.prompt) for picture in gallery.pictures] == [
        (100, "ape_512x512"),
        (100, "cat_512x512"),
        (0, "cat_512x512"),
    ]
    assert gallery.prompts == {"ape_512x512": "ape", "cat_512x512": "cat"}


def test_a_prompt_is_shown_as_the_config_has_it() -> None:
    gallery = gallery_of(files("v/step_5_validation_64x64.png"), {"--validation_prompt": "a cat on a mat"})
    assert gallery.prompts == {"validation_64x64": "a cat on a mat"}


def test_the_prompts_of_ai_toolkit_are_found_by_number() -> None:
    config = {"config": {"process": [{"sample": {"prompts": ["a cat", "an ape"]}}]}}
    gallery = gallery_of(files("samples/17__000000500_1.jpg", "samples/17__000000500_2.jpg"), config)
    assert gallery.prompts == {"1": "an ape", "2": "Prompt 3"}


def test_the_samples_of_kohya_are_found_by_number() -> None:
    gallery = gallery_of(files("sample/flux_000500_00_20240101123456_42.png"), {})
    assert [(picture.step, picture.prompt) for picture in gallery.pictures] == [(500, "00")]
    assert gallery.prompts == {"00": "Prompt 1"}


def test_a_list_of_prompts_may_be_kohya_s_or_have_settings_of_their_own() -> None:
    names = files("sample/flux_000500_00_20240101123456_42.png", "sample/flux_000500_01_20240101123456_42.png")
    gallery = gallery_of(names, {"sample_prompts": ["a cat", {"prompt": "an ape", "width": 512}]})
    assert gallery.prompts == {"00": "a cat", "01": "an ape"}
    listed = [{"prompt": "a dog"}, {"width": 512}]
    gallery = gallery_of(names, {"config": {"process": [{"sample": {"samples": listed}}]}})
    assert gallery.prompts == {"00": "a dog", "01": "Prompt 2"}


def test_a_prompt_file_tells_no_text() -> None:
    gallery = gallery_of(files("sample/x_000500_01_20240101123456_42.png"), {"sample_prompts": "/data/prompts.txt"})
    assert gallery.prompts == {"01": "Prompt 2"}


def test_a_number_as_a_name_is_no_place_in_a_list() -> None:
    config = {"validation_prompt": "a cat on a mat"}
    assert gallery_of(files("v/step_5_0_64x64.png"), config).prompts == {"0_64x64": "0"}


def test_the_picture_without_a_prompt_comes_last() -> None:
    gallery = gallery_of(files("v/step_5_unconditional_64x64.png", "v/step_5_validation_64x64.png"), {})
    assert [picture.prompt for picture in gallery.pictures] == ["validation_64x64", "unconditional_64x64"]
    assert list(gallery.prompts) == ["validation_64x64", "unconditional_64x64"]
