/* What a server answers to requests that were not captured stands there under names of its own. Of a side truth has
   nothing behind lost segments: answers to requests there stand alone. */
with holes as (
  select flow_id, min(client_missing_since) as client_hole, min(server_missing_since) as server_hole
  from connections
  group by flow_id
),
named as (
  select
    ldap.*,
    request_bytes > 0 and (client_hole is null or ldap.ts < client_hole) as is_asked,
    response_bytes > 0 and (
      server_hole is null or cast(ldap.ts as bigint) + coalesce(ldap.duration, 0) < cast(server_hole as bigint)
    ) as is_answered
  from ldap
  left join holes on holes.flow_id = ldap.flow_id
  where transport = 'tcp'
)
select
  client_ip, client_port, server_ip, server_port,
  case
    when is_asked then verb
    when status is null and reference_count is null then 'searchResEntry'
    when status is null then 'searchResRef'
    when verb = 'bind' then 'resp1'
    when verb = 'search' then 'resp5'
    when verb = 'modify' then 'resp7'
    when verb = 'add' then 'resp9'
    when verb = 'delete' then 'resp11'
    when verb = 'modifyDN' then 'resp13'
    when verb = 'compare' then 'resp15'
    else 'resp24'
  end as op,
  case
    when request_bytes > 0 and not is_asked then null
    when verb = 'extended' and is_asked then extended_oid
    when character_length(name) > 240
      then substr(name, 1, 240) || '~' || character_length(name)
    else name
  end as res,
  status as code,
  cast(ts as bigint) as ts
from named
where is_asked or is_answered
