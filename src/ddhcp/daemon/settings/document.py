"""The documents that follow from the settings' definitions: the commented example, the reference, what is in force."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping

from ...dhcp import OPTIONS, format_option, option_name
from .kinds import toml, toml_key
from .schema import ENTRIES, SETTINGS, TABLES
from .setting import Entries, Setting, Settings

_WIDTH = 100
_HEAD = """\
Configuration of ddhcp, with every setting that there is, each as a comment: take the # away in front of those that \
you need. Three are enough for a working node: server-interface, client-interfaces and network.

Try the file with: ddhcp --check-config PATH
Use it with: ddhcp -F PATH. Flags on the command line go before what the file says.
Settings marked "reload" are applied by SIGHUP or ddhcpctl reload; the others need a restart.
Times are seconds, or text such as "90s", "5m", "12h" or "1d"."""


def example() -> str:
    """The commented example of a configuration file. Uncommented it is a valid file with every setting in it."""
    parts = [_comment(_HEAD)]
    for table in TABLES:
        own = [setting for setting in SETTINGS if setting.table == table]
        if table and table not in {setting.key for setting in SETTINGS}:
            parts.append(f"{_comment(TABLES[table])}\n[{table}]")
        parts += [_example_of(setting) for setting in own if setting.key not in TABLES]
        parts += [_example_table(setting) for setting in SETTINGS if setting.key == table]
    parts += [_example_entries(entries) for entries in ENTRIES]
    return "\n\n".join(part for part in parts if part) + "\n"


def _comment(text: str) -> str:
    lines: list[str] = []
    for paragraph in text.split("\n"):
        lines += textwrap.wrap(paragraph, _WIDTH - 2, break_on_hyphens=False) or [""]
    return "\n".join(f"# {line}".rstrip() for line in lines)


def _about(setting: Setting[object]) -> str:
    """A setting's text: what it is, what may be written, the default, whether it is reloaded."""
    text = f"{setting.help}. Value: {setting.kind.describe()}. Default: {default_of(setting)}."
    return f"{text} (reload)" if setting.reloadable else text


def default_of(setting: Setting[object]) -> str:
    """The default in words."""
    if setting.default_text:
        return setting.default_text
    return "none" if setting.default in (None, (), {}) else toml(setting.default)


def example_value(setting: Setting[object]) -> object:
    """What the example shows for a setting, as TOML reads it."""
    return setting.example if setting.example is not None else setting.default


def _example_of(setting: Setting[object]) -> str:
    return f"{_comment(_about(setting))}\n#{setting.name} = {toml(example_value(setting))}"


def _example_table(setting: Setting[object]) -> str:
    """A setting that is a table of its own."""
    value = example_value(setting)
    assert isinstance(value, Mapping)
    rows = "\n".join(f"#{toml_key(name)} = {toml(item)}" for name, item in value.items())
    return f"{_comment(_about(setting))}\n[{setting.key}]\n{rows}"


def _example_entries(entries: Entries) -> str:
    text = f"{entries.help} (reload)" if entries.reloadable else entries.help
    rows = [f"{_comment(text)}\n#[[{entries.name}]]"]
    for setting in entries.settings:
        value = entries.example.get(setting.name, setting.example)
        about = f"{setting.help}. Value: {setting.kind.describe()}. Default: {default_of(setting)}."
        given = f"\n#{setting.name} = {toml(value)}" if value is not None else ""
        rows.append(f"{_comment(about if given else f'{setting.name}: {about}')}{given}")
    if entries.profile:
        rows.append(_comment(f"Also, for these alone, of [dhcp]: {_names(entries.profile)}."))
    return "\n".join(rows)


def _names(settings: Iterable[Setting[object]]) -> str:
    return ", ".join(setting.name for setting in settings)


# --- reference --------------------------------------------------------------------------------------


def reference() -> str:
    """The tables of settings for docs/configuration.md."""
    parts: list[str] = []
    for table, about in TABLES.items():
        own = [setting for setting in SETTINGS if setting.table == table and setting.key not in TABLES]
        own += [setting for setting in SETTINGS if setting.key == table]
        if not own:
            continue
        parts.append(f"### `[{table}]`\n\n{about}" if table else "### At the top of the file")
        parts.append(_reference_table(own))
    for entries in ENTRIES:
        text = f"### `[[{entries.name}]]`\n\n{entries.help}"
        parts.append(f"{text} {'Taken by a reload.' if entries.reloadable else 'Needs a restart.'}")
        parts.append(_reference_table(entries.settings))
        if entries.profile:
            parts.append(f"Also, for these clients alone, what stands in `[dhcp]`: {_names(entries.profile)}.")
    return "\n\n".join(parts) + "\n"


def _reference_table(settings: tuple[Setting[object], ...] | list[Setting[object]]) -> str:
    rows = ["| key | meaning | value | default | flag | reload |", "| --- | --- | --- | --- | --- | --- |"]
    for setting in settings:
        cells = (
            f"`{setting.key}`", setting.help, setting.kind.describe(), default_of(setting),
            " ".join(f"`{flag}`" for flag in setting.flags), "yes" if setting.reloadable else "no",
        )  # fmt: skip
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


# --- what is in force -------------------------------------------------------------------------------


def effective(settings: Settings) -> str:
    """The settings in force as a configuration file, each with a comment that says where it comes from."""
    return "\n".join(_effective_lines(settings)) + "\n"


def _effective_lines(settings: Settings) -> Iterator[str]:
    for table in TABLES:
        own = [setting for setting in SETTINGS if setting.table == table and setting.key not in TABLES]
        whole = next((setting for setting in SETTINGS if setting.key == table), None)
        if table:
            yield ""
            yield f"[{table}]" if whole is None else f"[{table}]  # {settings.source(whole)}"
        for setting in own:
            value = settings[setting]
            if value is None:
                yield f"#{setting.name} =  # {default_of(setting)}"
            else:
                yield f"{setting.name} = {toml(plain(value))}  # {settings.source(setting)}"
        if whole is not None:
            value = settings[whole]
            assert isinstance(value, Mapping)
            yield from (f"{toml_key(name)} = {toml(item)}" for name, item in _options(value).items())
    for entries in ENTRIES:
        for entry in settings.all_of(entries):
            yield ""
            yield f"[[{entries.name}]]"
            yield from (f"{name} = {toml(plain(value))}" for name, value in entry.values.items())


def plain(value: object) -> object:
    """A value as TOML can write it."""
    match value:
        case bool() | int() | str() | float():
            return value
        case tuple() | list() | frozenset():
            return [plain(item) for item in value]
        case dict():
            return _options(value) if all(isinstance(key, int) for key in value) else value
        case bytes():
            return value.hex(":")
    return str(value)


def _options(options: Mapping[int, bytes]) -> dict[str, object]:
    return {
        option_name(code) if code in OPTIONS else str(code): format_option(code, value)
        for code, value in options.items()
    }
