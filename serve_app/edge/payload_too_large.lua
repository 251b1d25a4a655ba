-- Answer 413 at once, and read what the client still sends: closing a connection with unread data
-- would reset it, and the client would lose the answer.
-- Arguments: body, bytes to read at most, then names and values of headers.
local arguments = {...}
local body = arguments[1]

core.register_service("payload_too_large", "http", function(applet)
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
