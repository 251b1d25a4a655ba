-- The ledger of permits in Redis: the rules of ledger.py, account.py and shared_line.py.
-- KEYS[1]: prefix of all keys, with one hash tag. ARGV[1]: a Report as JSON.
-- ARGV[2]: LEASE_S, ARGV[3]: RECOVERY_S, ARGV[4]: ADVANCE. Returns a Reply as JSON, its parts as arrays.

local prefix = KEYS[1]
local report = cjson.decode(ARGV[1])
local lease_s = tonumber(ARGV[2])
local recovery_s = tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6

local advance = tonumber(ARGV[4])
local KEPT_S = 86400  -- seconds that an account or a line is kept without any change

local sessions_key = prefix .. ':sessions'  -- session -> time at which it expires
local numbers_key = prefix .. ':numbers'    -- session -> number of its last report
local wake_channel = prefix .. ':wake'
local opens_key = prefix .. ':opens'        -- time from which units are granted: an empty Redis may have lost its data

local function exact(number)
  return string.format('%.17g', number)
end

local function account_key(allowance)
  return prefix .. ':account:' .. allowance
end

local function wake(session)
  redis.call('PUBLISH', wake_channel, session)
end

-- Accounts: level, limit, refill, at, used, idle; of each session u: (used), i: (idle), s: (spent), w: (waits).

local function load(allowance, row)
  local account = {name = allowance, fields = {}}
  local flat = redis.call('HGETALL', account_key(allowance))
  for index = 1, #flat, 2 do
    account.fields[flat[index]] = tonumber(flat[index + 1])
  end
  local fields = account.fields
  if fields.level == nil then
    fields.limit = row.limit
    fields.refill = row.refill_per_s
    fields.level = row.limit
    if row.refill_per_s > 0 and row.left >= 0 then
      fields.level = math.min(row.limit, row.left)
    end
    fields.at = now
    fields.used = 0
    fields.idle = 0
  end
  return account
end

local function store(account)
  local key = account_key(account.name)
  local fields = account.fields
  local flat = {}
  local is_held = false
  for field, value in pairs(fields) do
    flat[#flat + 1] = field
    flat[#flat + 1] = exact(value)
    is_held = is_held or string.sub(field, 2, 2) == ':'
  end
  redis.call('DEL', key)
  if is_held or fields.level < fields.limit then
    redis.call('HSET', key, unpack(flat))
    redis.call('EXPIRE', key, KEPT_S)
  end
end

local function waiting(account)
  local names = {}
  for field in pairs(account.fields) do
    if string.sub(field, 1, 2) == 'w:' then
      names[#names + 1] = string.sub(field, 3)
    end
  end
  return names
end

local function wake_waiting(account)
  for _, session in ipairs(waiting(account)) do
    wake(session)
  end
end

local function refill(account)
  local fields = account.fields
  if fields.refill > 0 then
    local most = math.max(0, fields.limit - fields.idle - fields.used)
    fields.level = math.min(most, fields.level + (now - fields.at) * fields.refill)
  end
  fields.at = now
end

local function hold(account, session, used, idle)
  local fields = account.fields
  fields.used = fields.used + used - (fields['u:' .. session] or 0)
  fields.idle = fields.idle + idle - (fields['i:' .. session] or 0)
  fields['u:' .. session] = used
  fields['i:' .. session] = idle
end

local function drop(account, session)
  hold(account, session, 0, 0)
  account.fields['u:' .. session] = nil
  account.fields['i:' .. session] = nil
  account.fields['s:' .. session] = nil
end

local function settle(account, session, row)
  local fields = account.fields
  refill(account)
  fields.level = fields.level + row.limit - fields.limit
  fields.limit = row.limit
  fields.refill = row.refill_per_s
  local before = fields.level
  local used = fields['u:' .. session] or 0
  local idle = fields['i:' .. session] or 0
  local spent = fields['s:' .. session]
  if spent == nil then
    spent = row.opens and 0 or row.spent
  end
  fields.level = fields.level + used + idle - (row.spent - spent) - row.used - row.idle
  hold(account, session, row.used, row.idle)
  fields['s:' .. session] = row.spent
  local allowances_key = prefix .. ':allowances:' .. session
  if row.ends then
    drop(account, session)
    redis.call('SREM', allowances_key, account.name)
  else
    redis.call('SADD', allowances_key, account.name)
    redis.call('EXPIRE', allowances_key, KEPT_S)
  end
  fields['w:' .. session] = nil
  if fields.level > before or (idle > 0 and row.idle == 0) then
    wake_waiting(account)
  end
end

local function grant(account, session, row, count, is_open)
  local fields = account.fields
  local own_idle = fields['i:' .. session] or 0
  local granted = 0
  if is_open then
    granted = math.min(row.need, math.max(0, math.floor(fields.level)))
    local is_alone = fields.used == 0 and fields.idle == own_idle
    if row.takes_any_alone and granted < row.first and is_alone then
      granted = row.first
    end
  end
  local is_enough = granted >= row.need
  if granted > 0 then
    fields.level = fields.level - granted
    if is_enough then
      hold(account, session, fields['u:' .. session] + granted, own_idle)
    else
      hold(account, session, fields['u:' .. session], own_idle + granted)
    end
  end
  local extra = 0
  if is_open and row.unit > 0 and is_enough and #waiting(account) == 0 then
    local share = math.floor(math.floor(fields.level) / (2 * count * row.unit))
    extra = row.unit * math.max(0, math.min(advance, share))
    fields.level = fields.level - extra
    hold(account, session, fields['u:' .. session], fields['i:' .. session] + extra)
  end
  local others_idle = fields.idle - fields['i:' .. session]
  if not is_enough and (row.waits or others_idle > 0 or not is_open) then
    fields['w:' .. session] = 1
  end
  local is_final = is_open and (is_enough or others_idle == 0)
  return {account.name, granted, extra, fields.level, fields.level + fields.idle, is_final}
end

local function recall(account, borrower)
  local fields = account.fields
  local names = waiting(account)
  if fields.idle == 0 or (#names == 0 and fields.level >= 0) then
    return
  end
  local others_wait = #names > 1 or (#names == 1 and names[1] ~= borrower)
  for field, value in pairs(fields) do
    local session = string.sub(field, 3)
    if string.sub(field, 1, 2) == 'i:' and value > 0 and (others_wait or session ~= borrower) then
      redis.call('SADD', prefix .. ':recalled:' .. session, account.name)
      redis.call('EXPIRE', prefix .. ':recalled:' .. session, KEPT_S)
      if session ~= borrower then
        wake(session)
      end
    end
  end
end

-- Lines: a sparse Fenwick tree in a hash, c<n> and m<n> (count and milliseconds), which doubles its size; size, last, count, total;
-- r:<session> (rate).

local function grow(key, number)
  local size = tonumber(redis.call('HGET', key, 'size') or '1')
  if number > size then
    local totals = redis.call('HMGET', key, 'count', 'total')
    redis.call('HSET', key, 'size', 2 * size, 'c' .. 2 * size, totals[1], 'm' .. 2 * size, totals[2])
  end
end

local function change(key, number, count, music_ms)
  local size = tonumber(redis.call('HGET', key, 'size') or '1')
  local node = number
  while node <= size do
    if redis.call('HINCRBY', key, 'c' .. node, count) == 0 then
      redis.call('HDEL', key, 'c' .. node, 'm' .. node)
    else
      redis.call('HINCRBY', key, 'm' .. node, music_ms)
    end
    local low = 1
    while node % (low * 2) == 0 do
      low = low * 2
    end
    node = node + low
  end
  redis.call('HINCRBY', key, 'total', music_ms)
  if redis.call('HINCRBY', key, 'count', count) == 0 then
    redis.call('HDEL', key, 'last', 'size')
  end
end

local function place(key, number)
  local count = 0
  local ahead_ms = 0
  local node = number - 1
  while node > 0 do
    local found = redis.call('HMGET', key, 'c' .. node, 'm' .. node)
    count = count + (tonumber(found[1]) or 0)
    ahead_ms = ahead_ms + (tonumber(found[2]) or 0)
    local low = 1
    while node % (low * 2) == 0 do
      low = low * 2
    end
    node = node - low
  end
  return count + 1, ahead_ms
end

local function leave_line(key, tickets_key, number)
  local ticket = redis.call('HGET', tickets_key, number)
  if ticket then
    local sequence, music_ms = string.match(ticket, '(%d+):(%d+)')
    redis.call('HDEL', tickets_key, number)
    change(key, tonumber(sequence), -1, -tonumber(music_ms))
  end
end

local function apply_line(session, line)
  local key = prefix .. ':line:' .. line.model
  local tickets_key = prefix .. ':tickets:' .. session .. ':' .. line.model
  for _, event in ipairs(line.events) do
    local number = exact(event[1])
    if event[2] > 0 and redis.call('HEXISTS', tickets_key, number) == 0 then
      local sequence = redis.call('HINCRBY', key, 'last', 1)
      redis.call('HSET', tickets_key, number, exact(sequence) .. ':' .. exact(event[2]))
      grow(key, sequence)
      change(key, sequence, 1, event[2])
    elseif event[2] == 0 then
      leave_line(key, tickets_key, number)
    end
  end
  redis.call('HSET', key, 'r:' .. session, exact(line.rate))
  redis.call('SADD', prefix .. ':lines:' .. session, line.model)
  for _, used in ipairs({key, tickets_key, prefix .. ':lines:' .. session}) do
    redis.call('EXPIRE', used, KEPT_S)
  end
  local places = {}
  for _, number in ipairs(line.asked) do
    local ticket = redis.call('HGET', tickets_key, exact(number))
    if ticket then
      local position, ahead_ms = place(key, tonumber(string.match(ticket, '%d+')))
      places[#places + 1] = {number, position, ahead_ms}
    end
  end
  local rate = line.rate
  for _, other in ipairs(redis.call('HKEYS', sessions_key)) do
    if other ~= session then
      rate = rate + (tonumber(redis.call('HGET', key, 'r:' .. other) or '0') or 0)
    end
  end
  local totals = redis.call('HMGET', key, 'count', 'total')
  return {line.model, places, tonumber(totals[1] or '0') or 0, tonumber(totals[2] or '0') or 0, rate}
end

-- Sessions.

local function finish(session)
  if redis.call('HDEL', sessions_key, session) == 0 then
    return
  end
  redis.call('HDEL', numbers_key, session)
  for _, allowance in ipairs(redis.call('SMEMBERS', prefix .. ':allowances:' .. session)) do
    local account = load(allowance, {limit = 0, refill_per_s = 0, left = -1})
    local fields = account.fields
    fields['w:' .. session] = nil
    if fields['u:' .. session] ~= nil then
      if fields.refill == 0 then
        fields.level = fields.level + fields['u:' .. session] + fields['i:' .. session]
      end
      drop(account, session)
    end
    store(account)
    wake_waiting(account)
  end
  for _, model in ipairs(redis.call('SMEMBERS', prefix .. ':lines:' .. session)) do
    local key = prefix .. ':line:' .. model
    local tickets_key = prefix .. ':tickets:' .. session .. ':' .. model
    for _, number in ipairs(redis.call('HKEYS', tickets_key)) do
      leave_line(key, tickets_key, number)
    end
    redis.call('HDEL', key, 'r:' .. session)
    redis.call('DEL', tickets_key)
  end
  redis.call('DEL', prefix .. ':allowances:' .. session, prefix .. ':lines:' .. session,
             prefix .. ':recalled:' .. session)
  wake(session)
end

local expiries = redis.call('HGETALL', sessions_key)
for index = 1, #expiries, 2 do
  if tonumber(expiries[index + 1]) <= now then
    finish(expiries[index])
  end
end

if report.leaves then
  finish(report.session)
  return cjson.encode({is_known = true})
end
redis.call('SET', opens_key, exact(now + recovery_s), 'NX')
if redis.call('HEXISTS', sessions_key, report.session) == 0 then
  if not report.joins then
    return cjson.encode({is_known = false})
  end
elseif report.number <= tonumber(redis.call('HGET', numbers_key, report.session)) then
  return cjson.encode({is_known = true})
end
redis.call('HSET', numbers_key, report.session, exact(report.number))
redis.call('HSET', sessions_key, report.session, exact(now + lease_s))

local is_open = now >= tonumber(redis.call('GET', opens_key))
local count = redis.call('HLEN', sessions_key)
local answers = {}
for _, row in ipairs(report.rows) do
  local account = load(row.allowance, row)
  settle(account, report.session, row)
  if row.ends then
    local unspent = account.fields.level + account.fields.idle
    answers[#answers + 1] = {row.allowance, 0, 0, account.fields.level, unspent, true}
  else
    answers[#answers + 1] = grant(account, report.session, row, count, is_open)
    recall(account, report.session)
  end
  store(account)
end
local lines = {}
for _, line in ipairs(report.lines) do
  lines[#lines + 1] = apply_line(report.session, line)
end
local recalled = redis.call('SMEMBERS', prefix .. ':recalled:' .. report.session)
redis.call('DEL', prefix .. ':recalled:' .. report.session)
return cjson.encode({is_known = true, is_open = is_open, answers = answers, lines = lines,
                     recalled = recalled})
