"""Who may ask for what: keys in a file, tokens of a Supabase project, and how often they may."""
