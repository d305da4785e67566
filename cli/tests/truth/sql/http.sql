/* Truth cuts long targets and says how long they were. HTTP/2, in the same table, is a protocol of its own there.
   Not unpacked: TLS whose keys stand in the capture (rec_tls_0_dsb); a head cut by the snap length (SllPacket); HTTP/0.9
   (mixed-vlan-mpls, frame 37). Tshark's own: in rec_http_0, 100 Continue counts as an answer of its own (frame 272), and an
   answer that comes before its request has ended (519) goes to no request and shifts those after it; it shows
   no message that the snap length has cut (decapsulate_erspan1).
   It lists no message of which the end is missing, and of a side nothing behind lost segments: a request there leaves its
   answer alone, an answer its request. */
with holes as (
  select flow_id, min(client_missing_since) as client_hole, min(server_missing_since) as server_hole
  from connections
  group by flow_id
),
named as (
  select
    http.*,
    request_bytes > 0 and not (incomplete and request_body_truncated)
      and (client_hole is null or http.ts < client_hole) as is_asked,
    response_bytes > 0 and not (incomplete and response_body_truncated) and (
      server_hole is null or cast(http.ts as bigint) + coalesce(http.duration, 0) < cast(server_hole as bigint)
    ) as is_answered
  from http
  left join holes on holes.flow_id = http.flow_id
  where version <> '2'
)
select
  client_ip, client_port, server_ip, server_port,
  case when is_asked then nullif(verb, '') end as op,
  case
    when not is_asked then null
    when character_length(target) > 400
      then substr(target, 1, 400) || '~' || character_length(target)
    else nullif(target, '')
  end as res,
  status as code,
  cast(ts as bigint) as ts
from named
where is_asked or is_answered
