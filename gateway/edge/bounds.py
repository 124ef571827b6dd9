"""How large the head of a request may be, as the edge judges it and as its refusals say."""

# A list takes 4096 bytes on the gRPC wire; in a query each of them may be written as three.
LONGEST_TARGET_BYTES = 16_384
# gRPC's servers refuse past 8 KiB in words of their own (grpc.max_metadata_size); the edge adds up to 1 KiB.
LARGEST_HEADERS_BYTES = 7168
MOST_HEADERS = 100
