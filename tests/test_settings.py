"""Settings: every wrong one named at once, secrets from files, defaults as the contract has them, secrets never shown."""

import re
from pathlib import Path

import pytest

import config
import schemas
from calllog import database
from tests.rig.service import ROOT, Service

ZONES = schemas.zones()


def load(monkeypatch: pytest.MonkeyPatch, **values: str) -> config.Settings:
    """The settings of this environment and nothing else."""
    for name in re.findall(r"(?m)^#?([A-Z_]+)=", (ROOT / ".env.example").read_text()):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return config.load(ZONES, database.parse_url, dotenv=None)


def test_defaults_are_the_contracts(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch)
    contract = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    section = contract[contract.index("## 4.") : contract.index("## 5.")]
    for name, value in {
        "BIND, WORKERS, THREADS": f"{settings.bind}, {settings.workers}, {settings.threads}",
        "MAX_BODY_BYTES": str(settings.max_body_bytes),
        "SETTLE_SECONDS, EXPIRE_HOURS": f"{settings.settle_seconds}, {settings.expire_hours}",
        "LOG_FORMAT, LOG_LEVEL": f"{settings.log_format}, {settings.log_level}",
        "TIMEZONE": str(settings.timezone),
    }.items():
        assert re.search(rf"\| {name} \| {re.escape(value)} \|", section), name
    assert settings.inbox_days == 30
    assert settings.calls_days == 0
    assert settings.public_url == "http://127.0.0.1:8000"
    assert settings.database_url == f"sqlite:///{settings.data_dir}/calllog/calls.db"
    assert all(feed.closed for feed in settings.feeds.values())


def test_what_the_example_shows_commented_out_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = dict(re.findall(r"(?m)^#([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text()))
    shown.pop("DATABASE_URL")  # says how it follows from DATA_DIR
    settings = load(monkeypatch)
    for name, value in shown.items():
        assert load(monkeypatch, **{name: value}) == settings, name


def test_an_empty_setting_has_its_default_and_only_a_list_of_proxies_may_be_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = re.findall(r"(?m)^#?([A-Z_]+)=", (ROOT / ".env.example").read_text())
    settings = load(monkeypatch)
    assert load(monkeypatch, **dict.fromkeys(set(names) - {"TRUSTED_PROXIES"}, " ")) == settings
    assert load(monkeypatch, TRUSTED_PROXIES="").trusted_proxies == ()


@pytest.mark.parametrize("digits", ["²", "٣", "1_0", "+3", "2.0", "9" * 5000])
def test_a_number_is_written_in_our_digits(digits: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORKERS": digits, "BIND": f"127.0.0.1:{digits}", "UIS_SILENCE_MINUTES": digits}.items():
        with pytest.raises(config.WrongSettings, match=f"^wrong settings:\n  {name}: must be "):
            load(monkeypatch, **{name: value})


def test_every_wrong_setting_is_named_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "BIND": "somewhere",
        "WORKERS": "many",
        "THREADS": "0",
        "TIMEZONE": "Moscow",
        "MTT_TIMEZONE": "nowhere",
        "DATABASE_URL": "postgres://x/y",
        "UIS_ALLOW": "10.0.0.0/99",
        "UIS_KEY": "open,abc",
        "MTT_KEY": "old new",
        "MAX_BODY_BYTES": "1",
        "LOG_FORMAT": "xml",
        "LOG_LEVEL": "loud",
        "TRUSTED_PROXIES": "localhost",
        "PUBLIC_URL": "calls.example.org",
        "EXPIRE_HOURS": "-1",
        "XVB_SILENCE_MINUTES": "soon",
        "API_KEY_FILE": "/nowhere",
    }
    with pytest.raises(config.WrongSettings) as stopped:
        load(monkeypatch, **wrong)
    for name in wrong:
        assert f"  {name}: " in str(stopped.value.message), name


def test_calls_may_not_be_forgotten_before_their_deliveries(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(config.WrongSettings, match="INBOX_DAYS: may not be longer than CALLS_DAYS"):
        load(monkeypatch, CALLS_DAYS="10", INBOX_DAYS="30")
    assert load(monkeypatch, CALLS_DAYS="30", INBOX_DAYS="30").calls_days == 30


def test_a_secret_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-a-file\n")
    assert load(monkeypatch, UIS_KEY_FILE=str(tmp_path / "key")).feeds["uis"].keys == ("from-a-file",)
    monkeypatch.delenv("UIS_KEY_FILE")
    with pytest.raises(config.WrongSettings, match="API_KEY_FILE"):
        load(monkeypatch, API_KEY_FILE=str(tmp_path / "absent"))


def test_a_relative_path_of_a_setting_is_relative_to_the_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(config, "HERE", tmp_path)
    (tmp_path / "key").write_text("from-a-file\n")
    settings = load(monkeypatch, UIS_KEY_FILE="key", DATABASE_URL="sqlite:///calls.db", DATA_DIR="there")
    assert settings.feeds["uis"].keys == ("from-a-file",)
    assert database.parse_url(settings.database_url)[0] == str(tmp_path / "calls.db")
    assert settings.data_dir == tmp_path / "there"
    url = load(monkeypatch, DATABASE_URL="mysql://u:p@h/calls?ssl_ca=ca.pem").database_url
    assert database.parse_url(url)[1]["ssl_ca"] == str(tmp_path / "ca.pem")


@pytest.mark.parametrize("encoding", ["cp1251", "utf-16", "utf-16-le"])
def test_a_settings_file_that_is_not_utf8_is_named_with_what_to_do(encoding: str, tmp_path: Path) -> None:
    dotenv = tmp_path / "settings.env"
    dotenv.write_bytes("# наш ключ\nUIS_KEY=a-key\n".encode(encoding))
    with pytest.raises(config.WrongSettings, match=f"{dotenv} is not in UTF-8 .*: save it as UTF-8"):
        config.load(ZONES, database.parse_url, dotenv)
    dotenv.write_text("# наш ключ\nUIS_KEY=a-key\n", encoding="utf-8-sig")  # as Windows' Notepad saves it
    assert config.load(ZONES, database.parse_url, dotenv).feeds["uis"].keys == ("a-key",)


def test_settings_that_cannot_be_read_are_no_default_settings(tmp_path: Path) -> None:
    link = tmp_path / ".env"
    assert config.load(ZONES, database.parse_url, link).feeds["uis"].closed  # without a file there are defaults
    link.symlink_to(tmp_path / "settings.env")
    with pytest.raises(config.WrongSettings, match=r"leads to .*settings\.env, which is not there"):
        config.load(ZONES, database.parse_url, link)
    (tmp_path / "settings.env").mkdir()
    with pytest.raises(config.WrongSettings, match="the settings cannot be read: "):
        config.load(ZONES, database.parse_url, link)


@pytest.mark.parametrize("sign", "@/#?[%")
def test_a_password_with_signs_is_read_or_its_spelling_is_told_without_it(
    sign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An @ and a % alone are no mistake: nothing else can be meant."""
    url = f"mysql://calls:big{sign}tiger@db.example/calls"
    if sign in "@%":
        assert database.parse_url(load(monkeypatch, DATABASE_URL=url).database_url)[1]["password"] == f"big{sign}tiger"
        return
    with pytest.raises(config.WrongSettings, match="in the password @ is written as %40") as wrong:
        load(monkeypatch, DATABASE_URL=url)
    assert "big" not in str(wrong.value)
    assert "tiger" not in str(wrong.value)


def test_a_providers_own_zone_is_its_feeds_default(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, TIMEZONE="Asia/Vladivostok")
    assert str(settings.feeds["uis"].timezone) == "Asia/Vladivostok"
    assert str(settings.feeds["mtt"].timezone) == "Europe/Moscow"
    monkeypatch.setenv("MTT_TIMEZONE", "Asia/Omsk")
    assert str(config.load(ZONES, database.parse_url, dotenv=None).feeds["mtt"].timezone) == "Asia/Omsk"


def test_wrong_settings_stop_the_command_line_and_gunicorn_with_the_message_alone(tmp_path: Path) -> None:
    service = Service(tmp_path, WORKERS="many", TIMEZONE="Moscow")
    done = service.flask("check", check=False)
    assert done.returncode != 0
    assert "WORKERS" in done.stderr
    assert "TIMEZONE" in done.stderr
    with pytest.raises(AssertionError, match="gunicorn ended with 1"):
        service.start(upgrade=False)
    assert "  WORKERS: " in service.log()
    assert "Traceback" not in service.log()


def test_check_masks_every_secret(tmp_path: Path) -> None:
    secrets = {
        "UIS_KEY": "uis-secret",
        "API_KEY": "api-secret",
        "XVB_TOKEN": "token-secret",
        "OPERATOR_PASSWORD": "pass-secret",
    }
    url = "mysql://calls:db-secret@127.0.0.1:1/calls"
    done = Service(tmp_path, url, **secrets).flask("check", check=False)
    assert done.returncode == 1
    assert "DATABASE_URL=mysql://calls:***@127.0.0.1:1/calls" in done.stdout
    for secret in (*secrets.values(), "db-secret"):
        assert secret not in done.stdout + done.stderr


def test_a_misspelt_name_in_the_settings_file_is_told_by_check(tmp_path: Path) -> None:
    service, code = Service(tmp_path / "service"), tmp_path / "code"
    service.copy_code(code, {})
    (code / ".env").write_text("CALL_DAYS=30\nCALLS_DAYS=90\nUIS_KEY_FILE=\nHTTPS_PROXY=http://10.0.0.1\n")
    said = service.flask("check", check=False).stdout
    assert "CALL_DAYS is no setting: CALLS_DAYS?" in said
    assert "HTTPS_PROXY is no setting; " in said
    assert "UIS_KEY_FILE is no" not in said


def test_a_network_may_be_written_with_a_hosts_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [str(network) for network in load(monkeypatch, UIS_ALLOW="192.0.2.7/24").feeds["uis"].allow] == [
        "192.0.2.0/24"
    ]
