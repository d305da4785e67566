/* Every line, from the side that sent it. Truth has no rows for messages of which a part is missing. */
select
  case when sender = 'server' then server_ip else client_ip end as client_ip,
  case when sender = 'server' then server_port else client_port end as client_port,
  case when sender = 'server' then client_ip else server_ip end as server_ip,
  case when sender = 'server' then client_port else server_port end as server_port,
  operation as op,
  subject as res,
  null as code,
  cast(ts as bigint) as ts
from nats
where not incomplete
