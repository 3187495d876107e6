"""What features use to reach the world outside, and to do work later. Knows no feature.

addresses  which addresses may be fetched from
outbound   HTTP to others, guarded: bounds, redirects, validators
unpacking  bodies as they were before somebody packed them, by count
"""
