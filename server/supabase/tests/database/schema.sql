-- Tables, and who may do what by policy; the whole matrix is tests/supabase/test_policies.py.
begin;
select plan(24);

select has_table('public'::name, t::name, 'table ' || t)
    from unnest(array['tier_limits', 'user_tiers', 'traders', 'trader_signals',
        'execution_history', 'execution_hours', 'trader_errors']) t;
select ok(c.relrowsecurity, 'row level security on ' || c.relname)
    from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
    order by c.relname;

select policies_are('public', 'traders', array[
    'visitors read built-in traders of their tier',
    'users read their own traders and built-in ones of their tier',
    'users make traders of their own',
    'users change their own traders',
    'users delete their own traders']);
select policies_are('public', 'trader_signals', array[
    'visitors read signals of traders they read',
    'users read signals of traders they read']);
select policy_roles_are('public', 'traders', 'users make traders of their own',
    array['authenticated']);
select col_is_pk('public', 'trader_signals', 'id', 'a signal is its id');
select col_type_is('public', 'trader_signals', 'price', 'numeric', 'prices keep their digits');
select col_is_unique('public', 'trader_signals',
    array['trader_id', 'filter_hash', 'market', 'symbol', 'interval', 'open_time_ms'],
    'one signal a kline');
select has_trigger('public', 'traders', 'traders_quota', 'quotas are kept by the database');
select has_trigger('public', 'trader_signals', 'trader_signals_revision', 'newest revisions win');
select function_privs_are('private', 'my_tier', array[]::text[], 'anon', array['EXECUTE']);
select function_privs_are('private', 'tier_of', array['uuid'], 'anon', array[]::text[]);

select * from finish();
rollback;
