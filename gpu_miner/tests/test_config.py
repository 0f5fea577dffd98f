"""The command line and the environment."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_miner.config import Settings, is_loopback, load_settings
from gpu_miner.errors import ConfigError

URL = "https://mia.example"


def load(*arguments: str, **environ: str) -> Settings:
    return load_settings(arguments, environ)


def problems(*arguments: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(*arguments, **environ)
    return str(caught.value)


def test_an_address_is_enough() -> None:
    settings = load("--url", URL + "/")
    assert (settings.url, settings.engine, settings.slots, settings.idle) == (URL, "extractive", 4, True)
    assert settings.name


def test_everything_can_come_from_the_environment(tmp_path: Path) -> None:
    settings = load(
        MIA_URL=URL,
        MIA_NAME="gpu-7",
        MIA_ENGINE="scripted",
        MIA_SLOTS="8",
        MIA_ENROLMENT_TOKEN="secret",
        MIA_STATE_DIR=str(tmp_path),
        MIA_NO_IDLE="yes",
        MIA_ONCE="1",
        MIA_LOG_LEVEL="debug",
        MIA_WORDS_PER_S="12.5",
    )
    assert (settings.name, settings.engine, settings.slots) == ("gpu-7", "scripted", 8)
    assert (settings.enrolment_token, settings.state_dir) == ("secret", tmp_path)
    assert (settings.idle, settings.once, settings.log_level, settings.words_per_s) == (False, True, "debug", 12.5)


def test_a_flag_beats_the_environment() -> None:
    assert load("--url", URL, "--slots", "2", MIA_SLOTS="9").slots == 2


def test_an_openai_server_chooses_its_engine() -> None:
    settings = load("--url", URL, "--openai-url", "http://127.0.0.1:8000/v1/")
    assert (settings.engine, settings.openai_url) == ("openai", "http://127.0.0.1:8000/v1")


def test_the_state_folder_follows_xdg() -> None:
    assert load("--url", URL, XDG_STATE_HOME="/var/state").state_dir == Path("/var/state/mia-miner")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000", "http://localhost", "http://[::1]:9", "http://mia.localhost:8000", URL]
)
def test_this_machine_may_be_plain_http(url: str) -> None:
    assert load("--url", url).url == url


@pytest.mark.parametrize("url", ["http://mia.example", "http://10.0.0.7", "http://localhost.evil.example"])
def test_plain_http_to_elsewhere_needs_a_word(url: str) -> None:
    assert "unencrypted" in problems("--url", url)
    assert load("--url", url, "--insecure").url == url


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "is missing"),
        ("mia.example", "must start with https://"),
        ("ftp://mia.example", "must start with https://"),
        ("https://user:pw@mia.example", "plain address"),
        ("https://mia.example/?a=b", "plain address"),
        ("https://mia.example:port", "not an address"),
        ("https://", "must start with"),
    ],
)
def test_a_wrong_address_is_explained(url: str, problem: str) -> None:
    assert problem in problems("--url", url)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--slots", "0"], "--slots must be"),
        (["--slots", "9999"], "--slots must be"),
        (["--name", "x" * 101], "--name must have"),
        (["--name", "a\nb"], "--name must have"),
        (["--name", "a/b"], "--name must have"),
        (["--engine", "magic"], "--engine must be one of"),
        (["--engine", "openai"], "--openai-url is missing"),
        (["--engine", "openai", "--openai-url", "http://far.example/v1"], "unencrypted"),
        (["--engine", "openai", "--openai-url", "http://127.0.0.1/v1", "--openai-prefill", "x"], "--openai-prefill"),
        (["--engine", "openai", "--openai-url", "http://127.0.0.1/v1", "--openai-timeout-s", "0"], "more than 0"),
        (["--log-level", "loud"], "--log-level"),
        (["--max-context", "10"], "--max-context"),
        (["--max-output", "100000"], "--max-output"),
        (["--words-per-s", "0"], "--words-per-s"),
        (["--idle-only", "--no-idle"], "--idle-only leaves nothing"),
        (["--max-temperature", "7"], "--max-temperature"),
        (["--max-power", "-7"], "--max-power"),
        (["--hours", "22-8"], "--hours: “22-8”"),
        (["--cache-mode", "Q5"], "--cache-mode"),
        (["--chunk-size", "1"], "--chunk-size"),
    ],
)
def test_each_wrong_value_is_named(arguments: list[str], problem: str) -> None:
    assert problem in problems("--url", URL, *arguments)


def test_all_problems_are_named_at_once() -> None:
    found = problems("--slots", "0", "--engine", "magic")
    assert all(flag in found for flag in ("--url", "--slots", "--engine"))


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"MIA_SLOTS": "many"}, "--slots (MIA_SLOTS) must be a whole number, not 'many'"),
        ({"MIA_WORDS_PER_S": "nan"}, "must be a number"),
        ({"MIA_NO_IDLE": "maybe"}, "must be yes or no"),
    ],
)
def test_a_word_of_the_wrong_kind_is_named_with_its_source(environ: dict[str, str], problem: str) -> None:
    assert problem in problems("--url", URL, **environ)


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "miner.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


Toml = Callable[[str], str]


def test_the_file_is_the_weakest_source(toml: Toml) -> None:
    path = toml('url = "https://file.example"\nname = "from-file"\nslots = 2\nno-idle = true\nopenai-timeout-s = 9\n')
    settings = load("--config", path, "--name", "from-flag", MIA_URL="https://env.example")
    assert (settings.url, settings.name) == ("https://env.example", "from-flag")
    assert (settings.slots, settings.idle, settings.openai_timeout_s) == (2, False, 9.0)


def test_the_usual_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "mia-miner").mkdir()
    (tmp_path / "mia-miner" / "miner.toml").write_text(f'url = "{URL}"')
    assert load(XDG_CONFIG_HOME=str(tmp_path)).url == URL


def test_an_unknown_key_names_the_nearest(toml: Toml) -> None:
    found = problems("--config", toml(f'url = "{URL}"\nmax_temprature = 80\nslotz = 3'))
    assert "did you mean “max_temperature”" in found
    assert "did you mean “slots”" in found


@pytest.mark.parametrize("line", ["slots = true", 'slots = "x"', "slots = 2.5", "name = 7", "once = 1"])
def test_a_value_of_the_wrong_type_in_the_file_is_named(toml: Toml, line: str) -> None:
    assert f"{line.split()[0]} in " in problems("--url", URL, "--config", toml(line))


def test_a_file_that_cannot_be_read_is_named(toml: Toml, tmp_path: Path) -> None:
    assert "cannot be read" in problems("--url", URL, "--config", toml("slots = = 2"))
    assert "is not there" in problems("--url", URL, "--config", str(tmp_path / "no.toml"))


@pytest.mark.parametrize(
    ("flags", "lanes"),
    [
        ([], ("chat", "api", "idle")),
        (["--no-idle"], ("chat", "api")),
        (["--chat-only"], ("chat",)),
        (["--idle-only"], ("idle",)),
    ],
)
def test_the_kinds_of_jobs_follow_the_flags(flags: list[str], lanes: tuple[str, ...]) -> None:
    assert load("--url", URL, *flags).lanes == lanes


def test_a_named_model_needs_an_engine_that_reads_it() -> None:
    assert "--model needs" in problems("--url", URL, "--engine", "extractive", "--model", "x")


@pytest.mark.parametrize(("host", "local"), [("127.9.9.9", True), ("::1", True), ("8.8.8.8", False), ("local", False)])
def test_loopback_is_judged_by_the_name_alone(host: str, *, local: bool) -> None:
    assert is_loopback(host) is local
