"""A Supabase project for tests: real Postgres, CLI, PostgREST and Deno, and named stand-ins."""
