"""The database: schema, engines, bulk transfer and queries. The only room that imports sqlalchemy."""
