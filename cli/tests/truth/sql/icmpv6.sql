/* Not found: in ipv6-malformed-fragments-36, fragments whose first says that another fragment header follows (frames 6
   and 7); truth goes by what the second says, and takes that header for a message of type 44. Their receiver refused them
   (frame 10).
   A reply whose echo was not captured: there its sender stands first, here its receiver, who must have asked. */
with named as (select *, message_type = 129 and response_type is null as lone_reply from icmpv6)
select case when lone_reply then server_ip else client_ip end as client_ip, 0 as client_port,
       case when lone_reply then client_ip else server_ip end as server_ip, 0 as server_port,
       message_type as op,
       response_type as code,
       cast(ts as bigint) as ts
from named
