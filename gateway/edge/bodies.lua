-- Keeps each network's unfinished bodies few.
-- Above this stand, compiled from gateway/edge/arrival.py: WHOLE_HEADER, MOST_BODIES and SWEEP_MILLISECONDS, and
-- gateway/edge/network.lua.

-- How many bodies of a network are on their way, in this thread; and when garbage was last swept for it.
local coming, swept = {}, 0

local function leave(who)
  local left = coming[who] - 1
  coming[who] = left > 0 and left or nil
end

-- Counts a body, and returns what its call holds while it waits. Envoy tells no script of a caller who went away
-- or was given up: it lets go of the script, and what that held is garbage, which leaves when it is swept.
local function enter(who)
  coming[who] = (coming[who] or 0) + 1
  local place = newproxy(true)
  getmetatable(place).__gc = function() leave(who) end
  return place
end

local function is_full(who, now)
  if (coming[who] or 0) < MOST_BODIES then return false end
  -- A sweep takes time for every call that waits, so one is not made for each call that is refused.
  if math.abs(now - swept) >= SWEEP_MILLISECONDS then
    swept = now
    collectgarbage()
  end
  return (coming[who] or 0) >= MOST_BODIES
end

-- Waits for a body among the others of its network, and returns it; or nothing and an HTTP status.
local function among_others(handle)
  local who = network(handle:streamInfo():downstreamRemoteAddress())
  if is_full(who, handle:timestamp()) then return nil, "429" end
  local place = enter(who)
  local body = handle:body()
  getmetatable(place).__gc = nil
  leave(who)
  return body
end

-- Waits for the body of a call and returns it; nothing where there is none; or nothing and an HTTP status.
local function whole_body(handle)
  -- Nobody waits for what is here: a call without a body, a message that the transcoder made.
  if handle:headers():get(WHOLE_HEADER) then return handle:body() end
  return among_others(handle)
end
