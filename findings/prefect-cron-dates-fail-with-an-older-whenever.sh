#!/usr/bin/env bash
# Prefect 3.9.1 accepts whenever 0.10.5 as one of its requirements, but with it no cron schedule has a next date on Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
ask() {
    "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "prefect==3.9.1" "whenever==$1"
    PREFECT_HOME="$folder/prefect" "$folder/venv/bin/python" - <<'PY' 2>&1 | tail -1
import asyncio
from datetime import datetime
from zoneinfo import ZoneInfo
from prefect.server.schemas.schedules import CronSchedule
start = datetime(2027, 1, 15, 12, tzinfo=ZoneInfo("Europe/Berlin"))
dates = asyncio.run(CronSchedule(cron="30 2 * * *", timezone="Europe/Berlin").get_dates(n=1, start=start))
print("next:", dates[0].isoformat())
PY
}
older=$(ask 0.10.5 || true)
newer=$(ask 0.11.0 || true)
echo "Python $("$folder/venv/bin/python" --version | cut -d' ' -f2), prefect 3.9.1"
echo "whenever 0.10.5: $older"
echo "whenever 0.11.0: $newer"
[[ "$older" == *"tzinfo must be of type ZoneInfo"* ]] || { echo "changed: the older one works"; exit 1; }
[[ "$newer" == "next: 2027-01-16T02:30:00+01:00" ]] || { echo "changed: the newer one does not work"; exit 1; }
