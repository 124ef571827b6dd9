-- Judges the parameters of a query by the fields that the contract knows, and names the one that is wrong: the
-- transcoder, which refuses them too, says no more than that one is. What is not certain here is left to it.
-- Above this stand, compiled from gateway/edge/json_fields.py: FIELDS, by message; and gateway/edge/query.lua.

local LONGEST_NAME = 100
local TIME = "^%d%d%d%d%-%d%d%-%d%d[Tt]%d%d:%d%d:%d%d[%d.]*[Zz+-][%d:]*$"
-- The least and the largest value of a kind, where a number of Lua is exact.
local RANGES = {int32 = {-2147483648, 2147483647}, uint32 = {0, 4294967295}, int64 = {}, uint64 = {}}

-- Returns the field that a dotted name leads to, or nothing. What stands below a field that JSON writes as a text,
-- or below a map, is left to the transcoder.
local function field_of(message, name)
  local field
  for part in name:gmatch("[^.]+") do
    local fields = FIELDS[message]
    if not fields then return field end
    field = fields[part]
    if not field then return end
    message = field.message
  end
  return field
end

local function wrong_number(range, value)
  if not value:find("^[-+%d.eE]+$") then return "must be a whole number" end
  local number = tonumber(value)
  if number and range[1] and (number < range[1] or number > range[2]) then
    return string.format("must be a whole number from %d to %.0f", range[1], range[2])
  end
end

local function wrong_name(values, value)
  if value:find("^-?%d+$") then return end
  for _, each in ipairs(values) do
    if each == value then return end
  end
  return "must be one of " .. table.concat(values, ", ")
end

-- Returns what a value must be and certainly is not, or nothing.
local function wrong(field, value)
  if RANGES[field.kind] then return wrong_number(RANGES[field.kind], value) end
  if field.kind == "time" and not value:find(TIME) then return "must be a time such as 2026-01-31T12:00:00Z" end
  if value == "" then return end
  if field.kind == "enum" then return wrong_name(field.values, value) end
  if field.kind == "bool" and not value:find("^[01]$") and value ~= "true" and value ~= "false" then
    return "must be true or false"
  end
end

local function shown(name)
  return (name:sub(1, LONGEST_NAME):gsub("[^%w_.]", "?"))
end

-- Returns the refusal of the first parameter that is wrong, under the name that its caller has written.
local function judge_parameters(target, message)
  for part in target:sub(target:find("?", 1, true) + 1):gmatch("[^&]+") do
    local written, value = part:match("^([^=]*)=?(.*)$")
    local name = unescaped(written)
    local field = field_of(message, name)
    if not field then return refusal_of(shown(name), "FIELD_UNKNOWN", "is no parameter of this method") end
    local description = wrong(field, unescaped(value))
    if description then return refusal_of(shown(name), "VALUE_INVALID", description) end
  end
end
