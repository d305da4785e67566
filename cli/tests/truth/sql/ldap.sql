/* What a server answers to requests that were not captured stands there under names of its own. */
select
  client_ip, client_port, server_ip, server_port,
  case
    when request_bytes > 0 then verb
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
    when verb = 'extended' and request_bytes > 0 then extended_oid
    when character_length(name) > 240
      then substr(name, 1, 240) || '~' || character_length(name)
    else name
  end as res,
  status as code,
  cast(ts as bigint) as ts
from ldap
where transport = 'tcp'
