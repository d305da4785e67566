/* gRPC as HTTP/2 sees it: `grpc` has what gRPC sees. */
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
  and (
    (coalesce(request_content_type, '') like 'application/grpc%'
      and request_content_type not like 'application/grpc-web%')
    or (coalesce(response_content_type, '') like 'application/grpc%'
      and response_content_type not like 'application/grpc-web%')
  )
