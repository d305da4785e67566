/* Every exchange, named as the ground truth names it: statements in one line, long ones cut as there. The truth has no
   records for steps of a login and for a COPY's data, nor for what is prepared, described or closed without being run,
   unless it fails: that is an Error there, at the time of the answer. Of answers to what was not
   captured it has those that end something. Of a side it reads nothing behind lost segments: answers to what was asked
   there stand alone.

   What differs, with the reason:
   - statements with a password: ours have `***` in its place
   - bad-startup-message-1 (zeek), frame 6: what it answers is no login, so that the flow is not PostgreSQL's to us */
with holes as (
  select flow_id, min(client_missing_since) as client_hole, min(server_missing_since) as server_hole
  from connections
  group by flow_id
),
named as (
  select
    postgresql.*,
    request_bytes > 0 and (client_hole is null or postgresql.ts < client_hole) as is_asked,
    response_bytes > 0 and (
      server_hole is null
      or cast(postgresql.ts as bigint) + coalesce(postgresql.duration, 0) < cast(server_hole as bigint)
    ) as is_answered,
    message in ('Parse', 'Bind', 'Describe', 'Close', 'Sync') as is_step,
    replace(replace(replace(replace(statement, chr(13) || chr(10), ' '), chr(10), ' '), chr(13), ' '), chr(9), ' ') as line
  from postgresql
  left join holes on holes.flow_id = postgresql.flow_id
)
select
  client_ip,
  client_port,
  server_ip,
  server_port,
  case when is_step then 'Error' when request_bytes > 0 and not is_asked then null when message = 'Reply' then null else message end as op,
  case
    when message = 'Notification' then channel
    when is_step or (request_bytes > 0 and not is_asked) then null
    when character_length(line) > 400 then left(line, 400) || '~' || character_length(line)
    else line
  end as res,
  case when message in ('SSLRequest', 'GSSRequest') then null else outcome end as code,
  case when is_step then cast(ts as bigint) + duration else cast(ts as bigint) end as ts
from named
where
  message not in ('Password', 'SASLInitialResponse', 'SASLResponse', 'GSSResponse', 'CopyData')
  and (not is_step or failed)
  and (message <> 'Reply' or outcome is null or outcome <> 'ready')
  and (is_asked or is_answered)
  and (is_asked or request_bytes = 0 or message in ('Query', 'Execute', 'FunctionCall') or is_step)
