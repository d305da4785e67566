/*  */
select client_ip, 0 as client_port, server_ip, 0 as server_port,
       message_type as op,
       response_type as code,
       cast(ts as bigint) as ts
from icmp
