"""What labs of the hub have beside JupyterLab: the lake, for Rucio's clients and its extension.

The hub names this folder in JUPYTER_CONFIG_PATH. It runs as the user, where the lab is.
"""

import contextlib
import os
from pathlib import Path

from nanolake import config
from nanolake.interactive import lab

if "RUCIO_CONFIG" in os.environ:
    token = os.environ["BEARER_TOKEN_FILE"]
    own = Path(token).with_name("rucio.cfg")
    template, account = os.environ["RUCIO_CONFIG"], os.environ["RUCIO_ACCOUNT"]
    lab.own_client(template, own, token=token, account=account)
    os.environ["RUCIO_CONFIG"] = str(own)  # of kernels, too
c = get_config()  # noqa: F821  (Jupyter has put it here)
with contextlib.chdir(os.environ["NANOLAKE_FOLDER"]):
    given = config.load_yaml("config/config.yaml")
    if chosen := os.environ.get("NANOLAKE_LAKE"):
        given["lake"] = chosen
    lake = config.resolve(given)["lake"]
for name, values in lab.settings(lake).items():
    c[name].update(values)
if "RucioConfig" in c:
    lab.log_in(lake["name"], lab.client_section(lake))
