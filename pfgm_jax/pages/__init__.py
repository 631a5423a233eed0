"""Pages that are one file each and need no network: report.html of a run."""
