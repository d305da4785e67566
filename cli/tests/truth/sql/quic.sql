/* One row a hello of TLS, whatever version of QUIC carries it.

   Differences, with their reasons:
   quic-crypto-packets.pcap, frames 302, 311 and 568: a client sends the same Initial again from another address. That
   is another conversation here; the truth goes by the connection's name, and takes it for a repetition. */
select client_ip, client_port, server_ip, server_port,
       case when ja3 is not null then 'ClientHello' else 'ServerHello' end as op,
       null as res,
       null as code,
       cast(ts as bigint) as ts
from quic
where ja3 is not null or ja3s is not null
