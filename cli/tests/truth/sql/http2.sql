/* HTTP/2 but gRPC, which is a protocol of its own in the truth; gRPC-Web is not.
   Known differences: TLS whose keys stand in the capture (ja4__http2-with-cookies, ja4__chrome-cloudflare-quic,
   rec_tls_0_dsb); an answer that came after its client had reset the stream (app-layer-protocol-exact, frame 21) is
   none to us; in rec_loss_0, tshark shows no answers on a connection once it has missed a part of it, and says of four
   that they came when a lost segment before them did (frame 554). */
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
where version = '2'
  and not (
    (coalesce(request_content_type, '') like 'application/grpc%'
      and request_content_type not like 'application/grpc-web%')
    or (coalesce(response_content_type, '') like 'application/grpc%'
      and response_content_type not like 'application/grpc-web%')
  )
