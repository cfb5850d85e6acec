"""Dividing cohorts by the site where scans were made, and what differs between the parts."""
