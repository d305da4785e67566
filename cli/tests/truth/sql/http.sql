/* Truth cuts long targets and says how long they were. HTTP/2, in the same table, is a protocol of its own there. */
select
  client_ip, client_port, server_ip, server_port,
  nullif(verb, '') as op,
  case
    when character_length(target) > 400
      then substr(target, 1, 400) || '~' || character_length(target)
    else nullif(target, '')
  end as res,
  status as code,
  cast(ts as bigint) as ts
from http
where version <> '2'
