/* Every exchange, named as the ground truth names it: statements in one line, long ones cut as there, and rarer commands
   by their number. The truth has no records for later steps of a login, for the content of files, nor for what a server
   says without being asked or to something not captured; a login that goes on with TLS is a Login there.

   What differs, with the reason:
   - statements with a password: ours have `***` in its place
   - emix and mysql (mercury), frame 84 there: a password in the old form, sent after the server asked for it, is no
     command; nor is the login of mysql.pcapng (pcpp), frame 1, whose greeting was not captured: the tool reads both as
     one, by the first byte of what they say; the same goes for the content of files */
with named as (
  select
    *,
    replace(replace(replace(replace(statement, chr(13) || chr(10), ' '), chr(10), ' '), chr(13), ' '), chr(9), ' ') as line
  from mysql
)
select
  client_ip,
  client_port,
  server_ip,
  server_port,
  case
    when command = 'SSLRequest' then 'Login'
    when command_code is null or command_code in (1, 2, 3, 4, 9, 14, 17, 22, 23, 24, 25, 26, 27, 28, 31) then command
    else 'COM_' || cast(command_code as varchar)
  end as op,
  case
    when command in ('COM_INIT_DB', 'COM_CREATE_DB', 'COM_DROP_DB', 'COM_CHANGE_USER') then database
    when command not in ('COM_QUERY', 'COM_STMT_PREPARE') then null
    when character_length(line) > 400 then left(line, 400) || '~' || character_length(line)
    else line
  end as res,
  case
    when command = 'COM_CHANGE_USER' and auth_switch is not null and not failed then 'EOF'
    when outcome = 'error' then 'ERR'
    /* What a row or the end of rows begins with. */
    when command = 'COM_STMT_FETCH' then case when row_count > 0 then 'OK' else 'EOF' end
    when outcome in ('ok', 'eof') then upper(outcome)
    when outcome = 'rows' then outcome
    when outcome = 'infile' then '251'
  end as code,
  cast(ts as bigint) as ts
from named
where command not in ('AuthResponse', 'LocalInfile', 'Error', 'Reply')
