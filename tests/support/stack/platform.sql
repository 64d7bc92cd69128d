-- What a hosted project has before its first migration, applied as the superuser supabase_admin.
-- Stand-ins: auth.users without a login, net.http_post whose queue a worker in Python empties, and
-- vault.secrets without encryption. Strict on purpose: nothing in public is granted to the roles of
-- the API, as in projects made since the end of October 2026, and postgres is no superuser.

create role postgres login createdb createrole replication bypassrls;
create role anon nologin noinherit;
create role authenticated nologin noinherit;
create role service_role nologin noinherit bypassrls;
create role authenticator login noinherit;
grant anon, authenticated, service_role to authenticator;
grant anon, authenticated, service_role to postgres with admin option;
alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';

alter default privileges revoke execute on routines from public;
alter default privileges for role postgres revoke execute on routines from public;
grant create on database postgres to postgres;
alter database postgres set search_path = "$user", public, extensions;

create schema auth;
create schema extensions;
create schema realtime;
create schema vault;
create schema net;
revoke all on schema public from public;
grant usage on schema public, extensions, auth to anon, authenticated, service_role, postgres;
grant all on schema public, extensions to postgres;
grant usage on schema auth, vault, net, realtime to postgres;

create extension pgcrypto schema extensions;
create extension "uuid-ossp" schema extensions;
create extension pgtap schema extensions;
create extension plpgsql_check schema extensions;
create extension pg_cron schema pg_catalog;
grant execute on all functions in schema extensions
    to postgres, anon, authenticated, service_role;
grant usage on schema cron to postgres;
grant all on all tables in schema cron to postgres;
grant all on all functions in schema cron to postgres;
grant all on all sequences in schema cron to postgres;

-- Auth ------------------------------------------------------------------------------------------
create table auth.users (
    id uuid primary key default gen_random_uuid(),
    aud text default 'authenticated',
    role text default 'authenticated',
    email text unique,
    raw_app_meta_data jsonb not null default '{}',
    raw_user_meta_data jsonb not null default '{}',
    is_anonymous boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
alter table auth.users enable row level security;
grant select, insert, update, delete, references, trigger on auth.users to postgres;

create function auth.claim(name text) returns text language sql stable as $$
    select coalesce(
        nullif(current_setting('request.jwt.claim.' || name, true), ''),
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> name)
$$;
create function auth.uid() returns uuid language sql stable
    as $$ select auth.claim('sub')::uuid $$;
create function auth.role() returns text language sql stable
    as $$ select auth.claim('role') $$;
create function auth.email() returns text language sql stable
    as $$ select auth.claim('email') $$;
create function auth.jwt() returns jsonb language sql stable as $$
    select coalesce(
        nullif(current_setting('request.jwt.claim', true), ''),
        nullif(current_setting('request.jwt.claims', true), ''))::jsonb
$$;
grant execute on all functions in schema auth to postgres, anon, authenticated, service_role;

-- Realtime --------------------------------------------------------------------------------------
create publication supabase_realtime;
alter publication supabase_realtime owner to postgres;

-- pg_net ----------------------------------------------------------------------------------------
create unlogged table net.http_request_queue (
    id bigserial primary key,
    method text not null,
    url text not null,
    headers jsonb,
    body bytea,
    timeout_milliseconds integer not null
);
create unlogged table net._http_response (
    id bigint,
    status_code integer,
    content_type text,
    headers jsonb,
    content text,
    timed_out boolean,
    error_msg text,
    created timestamptz not null default now()
);
create function net.http_post(
    url text,
    body jsonb default '{}',
    params jsonb default '{}',
    headers jsonb default '{"Content-Type": "application/json"}',
    timeout_milliseconds integer default 5000
) returns bigint language plpgsql security definer set search_path = '' as $$
declare
    request bigint;
    query text;
begin
    select string_agg(p.key || '=' || p.value, '&') into query from jsonb_each_text(params) p;
    insert into net.http_request_queue (method, url, headers, body, timeout_milliseconds)
        values (
            'POST',
            http_post.url || coalesce('?' || query, ''),
            http_post.headers,
            convert_to(http_post.body::text, 'UTF8'),
            http_post.timeout_milliseconds)
        returning id into request;
    perform pg_notify('net_http_request_queue', request::text);
    return request;
end
$$;
grant execute on function net.http_post to postgres;
grant select, delete on net.http_request_queue, net._http_response to postgres;

-- Vault -----------------------------------------------------------------------------------------
create table vault.secrets (
    id uuid primary key default gen_random_uuid(),
    name text unique,
    description text not null default '',
    secret text not null,
    key_id uuid,
    nonce bytea,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create view vault.decrypted_secrets as
    select id, name, description, secret, secret as decrypted_secret, key_id, nonce,
        created_at, updated_at
    from vault.secrets;
create function vault.create_secret(
    new_secret text, new_name text default null, new_description text default '',
    new_key_id uuid default null
) returns uuid language sql security definer set search_path = '' as $$
    insert into vault.secrets (secret, name, description, key_id)
        values (new_secret, new_name, coalesce(new_description, ''), new_key_id) returning id
$$;
create function vault.update_secret(
    secret_id uuid, new_secret text default null, new_name text default null,
    new_description text default null, new_key_id uuid default null
) returns void language sql security definer set search_path = '' as $$
    update vault.secrets set
        secret = coalesce(new_secret, secret),
        name = coalesce(new_name, name),
        description = coalesce(new_description, description),
        updated_at = now()
    where id = secret_id
$$;
grant select, delete on vault.secrets, vault.decrypted_secrets to postgres;
grant execute on all functions in schema vault to postgres;
