/* Truth cuts long targets and says how long they were. HTTP/2, in the same table, is a protocol of its own there.
   Not unpacked: TLS whose keys stand in the capture (rec_tls_0_dsb); a head cut by the snap length (SllPacket); HTTP/0.9
   (mixed-vlan-mpls, frame 37). Tshark's own: in rec_http_0, 100 Continue counts as an answer of its own (frame 272), and an
   answer that comes before its request has ended (519) goes to no request and shifts those after it; it shows no message
   whose last bytes were not captured (decapsulate_erspan1), nor the last of rec_loss_0; it takes two overlays with the same
   addresses for one (vxlan-overlapping-http-get). */
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
