"""The database: schema, engines, bulk transfer, queries. Only this room imports sqlalchemy."""
