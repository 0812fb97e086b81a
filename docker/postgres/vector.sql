-- Vectors are then stored in pgvector's type, so that they can be searched by SQL too.
CREATE EXTENSION IF NOT EXISTS vector;
