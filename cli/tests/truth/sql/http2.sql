/* HTTP/2 but gRPC, which is a protocol of its own in the truth; gRPC-Web is not.
   What is said within TLS counts where its secrets stand in the capture, too (ja4__http2-with-cookies, rec_tls_0_dsb).
   Known difference: an answer that came after its client had reset the stream (app-layer-protocol-exact, frame 21) is
   none to us. Of a side, tshark shows nothing behind lost segments: a request there leaves its answer alone. */
with holes as (
  select flow_id, min(client_missing_since) as client_hole, min(server_missing_since) as server_hole
  from connections
  group by flow_id
),
named as (
  select
    http.*,
    request_bytes > 0 and (client_hole is null or http.ts < client_hole) as is_asked,
    response_bytes > 0 and (
      server_hole is null or cast(http.ts as bigint) + coalesce(http.duration, 0) < cast(server_hole as bigint)
    ) as is_answered
  from http
  left join holes on holes.flow_id = http.flow_id
  where version = '2'
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
where (is_asked or is_answered)
  and not (
    (coalesce(request_content_type, '') like 'application/grpc%'
      and request_content_type not like 'application/grpc-web%')
    or (coalesce(response_content_type, '') like 'application/grpc%'
      and response_content_type not like 'application/grpc-web%')
  )
