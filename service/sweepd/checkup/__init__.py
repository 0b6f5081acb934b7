"""What `sweep doctor` looks at: data folder, service, machine, and the client's settings."""

from sweepd.checkup.findings import Finding, Level
from sweepd.checkup.folder import check_folder
from sweepd.checkup.machine import check_machine
from sweepd.checkup.reach import check_client, check_service

__all__ = ["Finding", "Level", "check_client", "check_folder", "check_machine", "check_service"]
