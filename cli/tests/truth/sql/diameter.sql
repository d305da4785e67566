/* Who asks is the client there, whichever side connected; SCTP's ports stand as 0. */
with named as (
  select client_ip, server_ip, server_initiated, command_code, status, ts,
         case when over_sctp.flow_id is null then client_port else 0 end as client_port,
         case when over_sctp.flow_id is null then server_port else 0 end as server_port
  from diameter
  left join (select distinct flow_id from connections where transport = 'sctp') as over_sctp
    on over_sctp.flow_id = diameter.flow_id
)
select
  case when server_initiated then server_ip else client_ip end as client_ip,
  case when server_initiated then server_port else client_port end as client_port,
  case when server_initiated then client_ip else server_ip end as server_ip,
  case when server_initiated then client_port else server_port end as server_port,
  command_code as op,
  null as res,
  status as code,
  cast(ts as bigint) as ts
from named
