/* Every exchange, named as the ground truth names it: statements in one line, long ones cut as there. The truth has no
   records for steps of a login and for a COPY's data, nor for what is prepared, described or closed without being run,
   unless it fails: that is an Error there, at the time of the answer. Of answers to what was not
   captured it has those that end something.

   What differs, with the reason:
   - statements with a password: ours have `***` in its place
   - rec_loss: where segments of a client's are missing, the tool reads nothing more of it (10.16.22.15:35724 and
     10.16.22.23:35776), though most of what comes later is there
   - bad-startup-message-1 (zeek), frame 6: what it answers is no login, so that the flow is not PostgreSQL's to us */
with named as (
  select
    *,
    message in ('Parse', 'Bind', 'Describe', 'Close', 'Sync') as is_step,
    replace(replace(replace(replace(statement, chr(13) || chr(10), ' '), chr(10), ' '), chr(13), ' '), chr(9), ' ') as line
  from postgresql
)
select
  client_ip,
  client_port,
  server_ip,
  server_port,
  case when is_step then 'Error' when message = 'Reply' then null else message end as op,
  case
    when message = 'Notification' then channel
    when is_step then null
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
