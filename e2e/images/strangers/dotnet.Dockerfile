# About these images:
# https://example.com/samples
FROM base:1 AS build
WORKDIR /source

COPY app/*.csproj .
RUN dotnet restore --use-current-runtime  

COPY app/. .
RUN dotnet publish --no-restore && mkdir /app && cp *.csproj Program.cs /app


# final
FROM base:1-slim
WORKDIR /app
COPY --from=build /app .
ENTRYPOINT ["dotnet", "app.dll"]
