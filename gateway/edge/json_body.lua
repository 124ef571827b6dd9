-- Reads a body of JSON against the fields that the contract knows, and says where it goes wrong.
-- Above this stand, compiled from gateway/edge/rest.py: MESSAGES, MOST_VALUES and DEEPEST.
-- It refuses by error(), with a table of what its caller is told.

local byte, find, match, sub = string.byte, string.find, string.match, string.sub
local QUOTE, BACKSLASH, COMMA, COLON = 34, 92, 44, 58
local OPEN_OBJECT, CLOSE_OBJECT, OPEN_LIST, CLOSE_LIST = 123, 125, 91, 93
local LOWER_U = 117
-- Those that follow a backslash and stand alone: " \ / b f n r t.
local ESCAPES = {[34]=true, [92]=true, [47]=true, [98]=true, [102]=true, [110]=true, [114]=true, [116]=true}
-- The digits of the largest value and of the smallest.
local WHOLE = {
  int32 = {"2147483647", "2147483648"}, uint32 = {"4294967295", "0"},
  int64 = {"9223372036854775807", "9223372036854775808"}, uint64 = {"18446744073709551615", "0"},
}
local WORDS = {"true", "false", "null"}
-- What is longer is no name, number, time or word of ours, and need not be looked at as a whole.
local LONGEST_READ_NAME, LONGEST_TOKEN = 1000, 64
local LONGEST_NAME = 100

-- What came from the caller goes back as ASCII, and not much of it.
local function shown(name)
  local text = name:gsub("[^\32-\126]", "?")
  return #text > LONGEST_NAME and text:sub(1, LONGEST_NAME) .. "..." or text
end

local function path_of(parts)
  local path = ""
  for _, part in ipairs(parts) do
    if type(part) == "number" then part = "[" .. part .. "]" end
    if part:sub(1, 1) ~= "[" and path ~= "" then path = path .. "." end
    path = path .. shown(part)
  end
  return path
end

local function refuse(parts, reason, description)
  local path = path_of(parts)
  error({field = path, reason = reason, description = description, message = path .. ": " .. description})
end

local function malformed(at, wanted)
  error({position = tostring(at), message = "The body is not JSON: " .. wanted .. " should stand at byte " .. at .. "."})
end

local function skip(text, at)
  local char = byte(text, at)
  while char == 32 or char == 10 or char == 13 or char == 9 do
    at = at + 1
    char = byte(text, at)
  end
  return at
end

-- Returns the first place from `at` on that is no plain character of a string. Byte by byte, which LuaJIT compiles:
-- to search for a set of characters takes ten times as long.
local function plain_end(text, at)
  local char = byte(text, at)
  while char and char ~= QUOTE and char ~= BACKSLASH and char > 31 do
    at = at + 1
    char = byte(text, at)
  end
  return at, char
end

-- Returns where the string that begins at a place ends: at its closing quote.
local function string_end(text, at)
  local stop, char = plain_end(text, at + 1)
  while char == BACKSLASH do
    local escaped = byte(text, stop + 1)
    if ESCAPES[escaped] then
      stop, char = plain_end(text, stop + 2)
    elseif escaped == LOWER_U and find(text, "^%x%x%x%x", stop + 2) then
      stop, char = plain_end(text, stop + 6)
    else
      malformed(stop + 1, "an escape that JSON knows")
    end
  end
  if char ~= QUOTE then malformed(stop, "the end of a string") end
  return stop
end

local function number_end(text, at)
  local _, stop = find(text, "^-?%d+", at)
  if not stop or find(text, "^-?0%d", at) then malformed(at, "a value") end
  if byte(text, stop + 1) == 46 then
    local _, last = find(text, "^%d+", stop + 2)
    stop = last or malformed(stop + 2, "a digit")
  end
  if find(text, "^[eE]", stop + 1) then
    local _, last = find(text, "^[eE][+-]?%d+", stop + 1)
    stop = last or malformed(stop + 2, "an exponent")
  end
  return stop
end

local function is_whole(token, kind)
  local sign, digits = match(token, "^(-?)0*(%d+)$")
  if not digits then
    local number = match(token, "^-?%d+[%.eE]") and tonumber(token)
    if not number or number % 1 ~= 0 or math.abs(number) > 2 ^ 53 then return false end
    sign, digits = number < 0 and "-" or "", string.format("%.0f", math.abs(number))
  end
  local limit = WHOLE[kind][sign == "" and 1 or 2]
  return #digits < #limit or (#digits == #limit and digits <= limit)
end

local function is_one_of(token, values)
  for _, value in ipairs(values) do
    if value == token then return true end
  end
  return false
end

-- By kind: what a value must be, in words, and whether a token is it; `quoted` where it stood in quotes.
local KINDS = {
  string = {"must be a string", function(_, quoted) return quoted end},
  bool = {"must be true or false", function(token) return token == "true" or token == "false" end},
  time = {
    "must be a time such as 2026-01-31T12:00:00Z",
    function(token, quoted) return quoted and match(token, "^%d%d%d%d%-%d%d%-%d%d[Tt]%d%d:%d%d:%d%d[%d.]*[Zz+-][%d:]*$") end,
  },
  number = {
    "must be a number",
    function(token, quoted)
      return match(token, "^-?[%d.]+[eE]?[+-]?%d*$") and tonumber(token)
        or quoted and (token == "NaN" or token == "Infinity" or token == "-Infinity")
    end,
  },
}
for kind, limit in pairs(WHOLE) do
  local smallest = limit[2] == "0" and "0" or "-" .. limit[2]
  KINDS[kind] = {
    "must be a whole number from " .. smallest .. " to " .. limit[1],
    function(token) return is_whole(token, kind) end,
  }
end

local function describe(field)
  if field.message or field.map then return "must be an object" end
  if field.kind == "enum" then return "must be one of " .. table.concat(field.values, ", ") end
  return KINDS[field.kind][1]
end

local function fits(field, token, quoted)
  if field.message or field.map then return false end
  if field.kind == "enum" then
    return quoted and is_one_of(token, field.values) or not quoted and is_whole(token, "int32")
  end
  return KINDS[field.kind][2](token, quoted)
end

-- Returns where a string, a number or a word ends.
local function scalar_end(text, at)
  local first = byte(text, at)
  if first == QUOTE then return string_end(text, at) end
  for _, word in ipairs(WORDS) do
    if sub(text, at, at + #word - 1) == word then return at + #word - 1 end
  end
  return number_end(text, at)
end

local function read_scalar(state, at, field)
  local text = state.text
  local stop = scalar_end(text, at)
  local quoted = byte(text, at) == QUOTE
  local first, last = quoted and at + 1 or at, quoted and stop - 1 or stop
  if last - first >= LONGEST_TOKEN or not fits(field, sub(text, first, last), quoted) then
    refuse(state.path, "VALUE_INVALID", describe(field))
  end
  return stop + 1
end

-- Returns a name as it is meant; one with escapes of anything but ASCII is none of ours.
local function name_at(text, at, stop)
  local name = sub(text, at + 1, math.min(stop - 1, at + LONGEST_READ_NAME))
  if not find(name, "\\", 1, true) then return name end
  return (name:gsub("\\u00(%x%x)", function(code) return string.char(tonumber(code, 16)) end))
end

local read_value

-- Returns the place behind a comma, or nothing and the place behind the bracket that ends what was begun.
local function go_on(text, at, last)
  at = skip(text, at)
  local char = byte(text, at)
  if char == COMMA then return skip(text, at + 1) end
  if char ~= last then malformed(at, "a comma or the end of what was begun") end
  return nil, at + 1
end

local function read_list(state, at, field)
  local text, path, count = state.text, state.path, 0
  local depth, behind = #path + 1, nil
  at = skip(text, at + 1)
  if byte(text, at) == CLOSE_LIST then return at + 1 end
  while at do
    path[depth] = count
    count = count + 1
    at, behind = go_on(text, read_value(state, at, field), CLOSE_LIST)
  end
  path[depth] = nil
  return behind
end

-- Reads an object: a message of these fields, or a map of this value. `seen` gets the place of each value, by the
-- contract's name.
local function read_object(state, at, fields, value, seen)
  local text, path = state.text, state.path
  local depth, behind = #path + 1, nil
  if depth > DEEPEST then malformed(at, "less than " .. DEEPEST .. " objects in one another") end
  at = skip(text, at + 1)
  if byte(text, at) == CLOSE_OBJECT then return at + 1 end
  while at do
    if byte(text, at) ~= QUOTE then malformed(at, "a name in double quotes") end
    local stop = string_end(text, at)
    local name = name_at(text, at, stop)
    local field = value or fields[name]
    path[depth] = value and "[" .. shown(name) .. "]" or name
    if not field then refuse(path, "FIELD_UNKNOWN", "there is no such field") end
    local key = field.name or name
    if seen[key] then refuse(path, "FIELD_REPEATED", "stands there twice") end
    at = skip(text, stop + 1)
    if byte(text, at) ~= COLON then malformed(at, "a colon") end
    at = skip(text, at + 1)
    seen[key] = at
    at, behind = go_on(text, read_value(state, at, field, true), CLOSE_OBJECT)
  end
  path[depth] = nil
  return behind
end

-- Reads a list or an object, or refuses what is one and should be none, or none and should be one.
local function read_composed(state, at, field, wants_list)
  local first = byte(state.text, at)
  if first == OPEN_LIST and wants_list then return read_list(state, at, field) end
  if first == OPEN_OBJECT and not wants_list then
    if field.map then return read_object(state, at, nil, field.map, {}) end
    if field.message then return read_object(state, at, MESSAGES[field.message], nil, {}) end
  end
  if first ~= OPEN_LIST and first ~= OPEN_OBJECT then scalar_end(state.text, at) end
  refuse(state.path, "VALUE_INVALID", wants_list and "must be a list" or describe(field))
end

-- `is_whole_field`: not one of a list's elements, so that it may be null or a list.
function read_value(state, at, field, is_whole_field)
  state.left = state.left - 1
  if state.left < 0 then
    error({message = "The body has more than " .. MOST_VALUES .. " values.", position = tostring(at)})
  end
  local text, wants_list = state.text, field.list and is_whole_field
  local first = byte(text, at)
  if first == QUOTE and field.kind == "string" and not wants_list then return string_end(text, at) + 1 end
  if is_whole_field and field.name and sub(text, at, at + 3) == "null" then return at + 4 end
  if wants_list or first == OPEN_LIST or first == OPEN_OBJECT then
    return read_composed(state, at, field, wants_list)
  end
  return read_scalar(state, at, field)
end

-- Returns where the value of each field of the body stands, by the contract's name.
-- `within` names the field of the request that the body is, or nothing where it is the request.
local function judge(text, message, within)
  local seen = {}
  local at = skip(text, 1)
  if byte(text, at) ~= OPEN_OBJECT then malformed(at, "an object") end
  local state = {text = text, left = MOST_VALUES, path = within and {within} or {}}
  at = skip(text, read_object(state, at, MESSAGES[message], nil, seen))
  if at <= #text then malformed(at, "nothing more") end
  return seen
end

-- Returns the text of a string that was judged, or nothing where it is none. One with escapes is a text that no
-- header has.
local function text_at(text, at)
  return at and sub(text, at, at) == '"' and (match(text, '^"([^"\\]*)"', at) or "\\")
end
