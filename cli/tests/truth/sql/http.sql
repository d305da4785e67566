-- Every exchange, named as the ground truth names it: long targets cut as there.
select
  client_ip, client_port, server_ip, server_port,
  nullif(verb, '') as op,
  case
    when verb = '' then null
    when character_length(target) > 400 then left(target, 400) || '~' || character_length(target)
    else target
  end as res,
  status as code,
  cast(ts as bigint) as ts
from http
