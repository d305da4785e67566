/* One row a hello, over TCP: the truth has no DTLS. It does not read the hello of SSL 2.0, only what answers it. A
   capture that holds its packets twice, with the same times, has each handshake twice; the truth counts it once.

   Differences, with their reasons:
   tls.pcap of ipfixprobe: frames 84 to 166 are frames 1 to 83 once more, which `distinct` undoes. */
select distinct client_ip, client_port, server_ip, server_port,
       case when verb = 'ClientHello' and ja3 is not null then 'ClientHello' else 'ServerHello' end as op,
       null as res,
       null as code,
       cast(ts as bigint) as ts
from tls
where transport = 'tcp' and (ja3 is not null or ja3s is not null)
