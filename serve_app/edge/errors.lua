-- Bodies of the edge's errors, in the form of the route that was called.
-- Arguments: code, form and body of each, separated by tabs; bytes to read at most; then names and
-- values of the headers of 413.
local arguments = {...}
local bodies = {}
for code, form, body in arguments[1]:gmatch("([^\t]+)\t([^\t]+)\t([^\t]+)") do
  bodies[code .. form] = body
end

core.register_converters("error_body", function(form, code)
  return bodies[code .. form]
end)

-- Answer 413 at once, and read what the client still sends: closing a connection with unread data
-- would reset it, and the client would lose the answer.
core.register_service("payload_too_large", "http", function(applet)
  local body = bodies["payload_too_large" .. (applet:get_var("txn.form") or "openai")]
  applet:set_status(413)
  for i = 3, #arguments, 2 do
    applet:add_header(arguments[i], arguments[i + 1])
  end
  applet:add_header("content-length", #body)
  applet:start_response()
  applet:send(body)
  local left = tonumber(arguments[2])
  repeat
    local part = applet:receive(65536)
    left = left - #part
  until #part == 0 or left < 0
end)
