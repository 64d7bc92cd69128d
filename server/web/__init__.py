"""The dashboard: its files as they are, and how they become a site."""
