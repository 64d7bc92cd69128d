"""Supabase beside the server: a process of its own uploads what happened, and reads traders."""
