/* One a frame; in the truth, whoever sent it stands as the client. */
select
  case when sender = 'server' then server_ip else client_ip end as client_ip,
  case when sender = 'server' then server_port else client_port end as client_port,
  case when sender = 'server' then client_ip else server_ip end as server_ip,
  case when sender = 'server' then client_port else server_port end as server_port,
  opcode as op,
  cast(ts as bigint) as ts
from websocket
