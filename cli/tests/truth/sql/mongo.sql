/* A compressed message counts there as what it is on the wire. Messages older than MSG name the collection with its
   database; of a MSG, the command's own value counts if it is a text. */
select
  client_ip, client_port, server_ip, server_port,
  case when request_compressor is not null then 'COMPRESSED' else opcode end as op,
  coalesce(full_collection, nullif(target, '')) as res,
  case when response_compressor is not null then 'COMPRESSED' else response_opcode end as code,
  cast(ts as bigint) as ts
from mongodb
