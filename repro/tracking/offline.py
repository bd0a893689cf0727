"""Whether W&B can be used now: a key is known, and the server answers. Asked without the client, which takes longer."""

import configparser
import contextlib
import http.client
import netrc
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlparse

PROBE_SECONDS = 3.0


def why_offline() -> str | None:
    """Why W&B cannot be used now; None if it seems usable. Takes at most about `PROBE_SECONDS`."""
    noted = noted_by_login()
    url = os.environ.get("WANDB_BASE_URL") or noted.get("base_url", "https://api.wandb.ai")
    found: list[str | None] = []
    # In a thread, because the timeout of `urlopen` applies to each read, and name resolution has none.
    probe = threading.Thread(target=lambda: found.append(_obstacle(url, noted)), daemon=True)
    probe.start()
    probe.join(PROBE_SECONDS)
    return found[0] if found else f"{url} does not answer within {PROBE_SECONDS:g} s"


def noted_by_login() -> dict[str, str]:
    """The settings that `wandb login` saved, such as a server other than W&B's own, found as the client finds them."""
    file = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser() / "settings"
    parser = configparser.ConfigParser(interpolation=None)
    with contextlib.suppress(configparser.Error):  # the client ignores such a file
        parser.read([file, "wandb/settings"])
    return dict(parser["default"]) if "default" in parser else {}


def _obstacle(url: str, noted: Mapping[str, str]) -> str | None:
    keys = (os.environ.get("WANDB_API_KEY"), os.environ.get("WANDB_IDENTITY_TOKEN_FILE"), noted.get("api_key"))
    try:
        if not any(keys) and not _key_in_netrc(url):
            return "no API key: run `wandb login` or set WANDB_API_KEY"
        with urllib.request.urlopen(url, timeout=PROBE_SECONDS):
            return None
    except urllib.error.HTTPError as error:
        return f"{url} answers {error.code}" if error.code >= 500 else None
    except (ValueError, http.client.InvalidURL) as error:
        return f"WANDB_BASE_URL: {error}"
    except OSError as error:
        return f"{url} does not answer: {getattr(error, 'reason', error)}"
    except http.client.HTTPException as error:
        return f"{url} does not answer as a web server does: {error!r}"


def _key_in_netrc(url: str) -> bool:
    try:
        file = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
        return netrc.netrc(file).authenticators(urlparse(url).netloc) is not None
    except (OSError, netrc.NetrcParseError):
        return False
